"""What a comparison found, as tables, charts and one HTML page that needs nothing but itself."""
