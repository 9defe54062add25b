"""What every stage uses: errors, files, params, tables, receipts, and where everything lies."""
