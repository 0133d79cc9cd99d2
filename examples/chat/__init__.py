"""A language model that answers, its weights in four bits or fewer."""
