"""Why a backup could not be made or restored."""


class BackupError(Exception):
    """It could not be done; the message is one that a person can act on."""


class RefusedError(BackupError):
    """It was not tried, since the command as it was given would destroy something."""
