"""The client of OpenAI-compatible endpoints: requests, responses, refusals, rate limits."""
