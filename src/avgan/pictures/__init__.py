"""What a recording looked like: pictures of its segments, a strip along time, a film."""
