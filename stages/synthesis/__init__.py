"""Strong data: asks a strong model for databases, questions and SQL, verifies what it gives, and repairs what fails."""
