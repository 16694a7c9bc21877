"""What happens between an assignment and its first batch: identity checked, tables restored, positions found."""
