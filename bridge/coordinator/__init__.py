"""Where waits live: matching, transitions, timers, the store, the API."""
