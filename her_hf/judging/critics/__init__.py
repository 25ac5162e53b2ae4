"""Judges of one dialogue: CoSER's four critics and the judge of situated reenactment."""
