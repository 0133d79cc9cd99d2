"""The intermediate representation: types, dims, values, nodes and graphs, their text form and their rules."""
