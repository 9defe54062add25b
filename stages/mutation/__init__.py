"""Counterexample databases: real rows, changed within the rules that their data keeps, and the search for witnesses."""
