# Something before GitLab refuses with a page: its text is told in short, the move latches, and only a person tries again.
at 9m  fault gitlab refused-in-html
at 10m kill blue
at 15m expect history GitLab answered 403: <html> <head><title>403 Forbidden</title></head>
at 40m expect latched
at 40m mend gitlab
at 60m expect latched
at 60m expect moves 1
at 60m expect holder blue
