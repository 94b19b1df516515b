"""`mainstay demo`: the whole path, driven as a backend would, every claim checked."""
