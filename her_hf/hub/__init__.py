"""The way to and from the Hub: base models, cards, push, pull, collections, and the wheel that Spaces carry."""
