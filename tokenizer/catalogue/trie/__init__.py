"""The trie of SIDs: its arrays, the mean vectors of its nodes, and how one is merged from the one before."""
