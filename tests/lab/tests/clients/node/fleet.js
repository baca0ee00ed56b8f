// @gitbeaker/rest lists, reads and retags the runners of a GitLab: URL, token, runner id as arguments.
import assert from 'node:assert/strict';
import { Gitlab } from '@gitbeaker/rest';

const [host, token, id] = process.argv.slice(2);
const runnerId = Number(id);
const api = new Gitlab({ host, token, camelize: true });

const user = await api.Users.showCurrentUser();
assert.equal(user.username, 'node');

// Lists: all pages, filters.
const rows = await api.Runners.all({ perPage: 10 });
assert.equal(new Set(rows.map((row) => row.id)).size, 25);
const mine = await api.Runners.all({ tagList: ['runner-a', 'node'].join(',') });
assert.deepEqual(mine.map((row) => row.id), [runnerId]);
const group = await api.Runners.all({ groupId: 'acme', type: 'group_type' });
assert.deepEqual(group.map((row) => row.description), ['of the group']);

// One runner: read, change.
const runner = await api.Runners.show(runnerId);
assert.deepEqual(runner.tagList, ['runner-a', 'node']);
const edited = await api.Runners.edit(runnerId, { tagList: [...runner.tagList, 'rnd-runner'], paused: true });
assert.deepEqual(edited.tagList, ['runner-a', 'node', 'rnd-runner']);
const again = await api.Runners.show(runnerId);
assert.equal(again.paused, true);
assert.equal(again.status, 'paused');

// Refusals.
await assert.rejects(api.Runners.edit(runnerId, { accessLevel: 'everybody' }), (error) => {
  assert.equal(error.cause.response.status, 400);
  return true;
});
await assert.rejects(api.Runners.show(99999), (error) => error.cause.response.status === 404);

// A pipeline whose job asks for the tag.
const pipeline = await api.Pipelines.create('rnd/canary', 'main', {
  variables: [{ key: 'tag', value: 'rnd-runner' }],
});
assert.equal(pipeline.status, 'pending');
const jobs = await api.Jobs.all('rnd/canary', { pipelineId: pipeline.id });
assert.deepEqual(jobs[0].tagList, ['rnd-runner']);
console.log('done');
