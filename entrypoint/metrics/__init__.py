"""What is counted, and how a scraper reads it."""
