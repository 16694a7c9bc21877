"""The trie of SIDs: its CSR arrays, the mean vectors of its nodes, and the merge of changes into it."""
