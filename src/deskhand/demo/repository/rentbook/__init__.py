"""When is the rent due, and what is owed?"""
