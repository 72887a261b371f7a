"""The vocabulary: pure values every other room speaks in. No I/O, no clock, no Twisted, nothing mutable."""
