"""Judges of one dialogue: CoSER's four critics and the minimax judge."""
