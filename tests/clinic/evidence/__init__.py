"""The experiments behind the tables in the rules' pages: one file an experiment, named after the rule's code.

``python -m tests.clinic.evidence --help`` says how to run one again and how to add one.
"""
