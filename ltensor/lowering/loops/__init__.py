"""Scans as native loops: the forms a loop may take, and what is done for blocks of its steps."""
