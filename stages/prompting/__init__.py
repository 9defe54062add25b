"""What a model is asked with, and the SQL in what it answers."""
