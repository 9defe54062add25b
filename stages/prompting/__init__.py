"""Renders what a model is asked: DDL, evidence and question, within a budget of tokens."""
