# Something before GitLab limits the rate with a page, and does not say for how long: it is no outage of the runners, nothing is lost, and the
# move goes on afterwards.
at 10m kill blue
at 11m29s fault gitlab rate-limit-in-html for 3m
at 13m expect outcome held:gitlab_reachable
at 13m expect gate gitlab_reachable closed saw GitLab limits the request rate: <html><body><h1>429 Too Many Requests</h1></body></html>
at 20m expect holder green
at 20m expect moves 1
at 20m expect not latched
