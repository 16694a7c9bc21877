"""What commands show of records: one view a module, columns and rows without any I/O."""
