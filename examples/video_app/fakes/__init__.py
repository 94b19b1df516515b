"""Everything in here is a fake: it does no work and knows nobody, and only takes time and fails.

The shape is that of the real thing. A transcoder takes seconds and is busy now and then, a language
model is slow and answers 429, a mail relay greylists. The same seed gives the same run.
"""
