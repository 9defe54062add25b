"""What all HTML pages share: their look and parts, filters, security policy, and marks of what differs."""
