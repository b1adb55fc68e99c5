"""Reads what is not in the contract's own form: one normaliser, which an ordinary event never enters."""
