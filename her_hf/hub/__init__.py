"""The way to and from the Hub: base models, cards, push."""
