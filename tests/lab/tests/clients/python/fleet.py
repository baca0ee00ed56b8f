"""python-gitlab lists, reads and retags the runners of a GitLab: URL, token, runner id as arguments."""

import sys

import gitlab

url, token, runner_id = sys.argv[1], sys.argv[2], int(sys.argv[3])
gl = gitlab.Gitlab(url, private_token=token, retry_transient_errors=False)
gl.auth()
assert gl.user.username == "python", gl.user
assert gl.version()[0].startswith("19."), gl.version()

# Lists: pages followed by their Link headers, totals, filters with AND.
rows = gl.runners_all.list(iterator=True, per_page=10)
assert rows.total == 25, rows.total
rows = list(rows)
assert len({row.id for row in rows}) == 25
assert not hasattr(rows[0], "tag_list")
mine = gl.runners_all.list(tag_list="runner-a,python", get_all=True)
assert [row.id for row in mine] == [runner_id], mine
group = gl.groups.get("acme")
assert [row.description for row in group.runners.list(type="group_type", get_all=True)] == ["of the group"]

# One runner: read, change, save.
runner = gl.runners.get(runner_id)
assert runner.tag_list == ["runner-a", "python"], runner.tag_list
runner.tag_list = runner.tag_list + ["rnd-runner"]
runner.maintenance_note = "moved by python"
runner.save()
again = gl.runners.get(runner_id)
assert again.tag_list == ["runner-a", "python", "rnd-runner"], again.tag_list
assert again.maintenance_note == "moved by python"

# Refusals.
try:
    gl.runners.update(runner_id, {"tag_list": []})
    raise SystemExit("empty tags were taken")
except gitlab.GitlabUpdateError as error:
    assert error.response_code == 400, error
    assert "can not be empty" in str(error), error
try:
    gl.runners.get(99999)
    raise SystemExit("an unknown runner was found")
except gitlab.GitlabGetError as error:
    assert (error.response_code, "404 Runner Not Found" in str(error)) == (404, True), error
try:
    gitlab.Gitlab(url, private_token="wrong").auth()
    raise SystemExit("a wrong token was taken")
except gitlab.GitlabAuthenticationError:
    pass

# A pipeline whose job asks for the tag, its jobs, its end.
project = gl.projects.get("rnd/canary")
pipeline = project.pipelines.create({"ref": "main", "inputs": {"tag": "rnd-runner"}})
(job,) = pipeline.jobs.list(get_all=True)
assert (job.status, job.tag_list, job.runner) == ("pending", ["rnd-runner"], None), job
pipeline.cancel()
assert project.pipelines.get(pipeline.id).status == "canceled"
assert project.jobs.get(job.id).status == "canceled"
print("done")
