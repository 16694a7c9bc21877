"""What the demo prints: lines and tables that fit the window, the verdict, and commands to copy."""
