"""Training by subject.

The stages are `sft.py` (HER-SFT and its settings) and `reward_model/` (both stages of HER-RM). Each builds rows
(`conversations.py`, `reward_model/rows.py`; the row itself is processing/trunk.py), trains them with `one_pass/`, and
is run by `run/`: base, job, checkpoints, cards, launch. `internals.py` holds uses of private parts of libraries.
"""
