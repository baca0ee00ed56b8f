// Grafana's own types, as JSON can have them: the words of an enum instead of its members, and each panel with the
// options of its kind.
import type { AnnotationQuery, Dashboard as Whole, DataQuery, Panel, RowPanel } from '@grafana/schema';
import type * as Stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as States from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type * as Table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as Lines from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

type Json<T> = unknown extends T
  ? T
  : T extends string
    ? `${T}`
    : T extends (infer Item)[]
      ? Json<Item>[]
      : T extends object
        ? { [Key in keyof T]: Json<T[Key]> }
        : T;

// What the data source for Prometheus adds; the package leaves it to the data sources.
interface Query extends DataQuery {
  expr: string;
  legendFormat?: string;
  instant?: boolean;
  range?: boolean;
  format?: 'time_series' | 'table' | 'heatmap';
}
interface Marks extends AnnotationQuery {
  target: Pick<Query, 'refId' | 'expr'>;
  titleFormat: string;
  textFormat: string;
}

interface Of<Kind extends string, Options, Custom> extends Omit<Panel, 'type' | 'options' | 'fieldConfig' | 'targets'> {
  type: Kind;
  options: Options;
  fieldConfig: Omit<NonNullable<Panel['fieldConfig']>, 'defaults'> & {
    defaults: Omit<NonNullable<Panel['fieldConfig']>['defaults'], 'custom'> & { custom?: Custom };
  };
  targets: Query[];
}
type Any =
  | Of<'stat', Stat.Options, never>
  | Of<'state-timeline', States.Options, States.FieldConfig>
  | Of<'table', Table.Options, Table.FieldConfig>
  | Of<'timeseries', Lines.Options, Lines.FieldConfig>
  | RowPanel;

export type Dashboard = Json<Omit<Whole, 'panels' | 'annotations'>> & {
  panels: Json<Any>[];
  annotations: { list: Json<Marks>[] };
};
