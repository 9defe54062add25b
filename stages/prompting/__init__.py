"""Renders prompts: DDL, evidence and question, within a token budget."""
