# Blue comes and goes every minute: one alert, held by keep_firing_for, and one decision at most.
at 10m kill blue
at 11m revive blue
at 12m kill blue
at 13m revive blue
at 14m kill blue
at 15m revive blue
at 30m expect holder blue
at 30m expect moves 0
