"""One small reader for each kind of data.

`kinds.py` recognises the kind of a row, `load.py` chooses its reader; `card_containers.py` unpacks PNG and CHARX.
"""
