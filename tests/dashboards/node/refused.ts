// The types can refuse: each of these lines has one thing wrong.
import type { Dashboard } from './types';

type Panel = Dashboard['panels'][number];
const stat: Extract<Panel, { type: 'stat' }>['options'] = {
  reduceOptions: { calcs: ['last'] }, orientation: 'auto', textMode: 'value', colorMode: 'background', graphMode: 'none',
  justifyMode: 'center', wideLayout: true, showPercentChange: false, percentChangeColorMode: 'standard',
};
// @ts-expect-error no such colour mode
export const mode: typeof stat = { ...stat, colorMode: 'foreground' };
// @ts-expect-error no such panel
export const kind: Panel['type'] = 'graph';
// @ts-expect-error no such option
export const refresh: Dashboard['templating'] = { list: [{ type: 'query', name: 'job', refresh: 7 }] };
// @ts-expect-error a key that nobody reads
export const key: Dashboard['time'] = { from: 'now-6h', until: 'now' };
