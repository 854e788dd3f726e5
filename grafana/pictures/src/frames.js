// Data frames from answers of Prometheus, with units, thresholds and overrides applied as Grafana does it.
import {
  applyFieldOverrides,
  FieldConfigOptionsRegistry,
  FieldType,
  getFieldDisplayName,
  identityOverrideProcessor,
  standardTransformers,
  toDataFrame,
  valueMappingsOverrideProcessor,
  thresholdsOverrideProcessor,
} from '@grafana/data';
import { of } from 'rxjs';

const STANDARD = ['unit', 'min', 'max', 'decimals', 'noValue', 'color', 'fieldMinMax', 'displayName', 'filterable'];
const CUSTOM = ['width', 'minWidth', 'align', 'cellOptions', 'filterable', 'drawStyle', 'lineWidth', 'fillOpacity', 'showPoints'];
CUSTOM.push('spanNulls', 'stacking', 'axisSoftMin', 'axisSoftMax', 'thresholdsStyle', 'lineStyle', 'inspect', 'axisPlacement');
CUSTOM.push('hideFrom', 'pointSize', 'lineInterpolation', 'scaleDistribution', 'barAlignment');

const always = { process: identityOverrideProcessor, shouldApply: () => true, override: () => null, editor: () => null };
// Outside of Grafana nothing fills this registry, and what is not in it is ignored in silence.
const registry = new FieldConfigOptionsRegistry(() => [
  ...STANDARD.map((id) => ({ ...always, id, path: id, name: id })),
  { ...always, id: 'mappings', path: 'mappings', name: 'mappings', process: valueMappingsOverrideProcessor },
  { ...always, id: 'thresholds', path: 'thresholds', name: 'thresholds', process: thresholdsOverrideProcessor },
  ...CUSTOM.map((id) => ({ ...always, id: `custom.${id}`, path: id, name: id, isCustom: true })),
]);

// What the panel's plugin has as its defaults, where the panel says nothing.
const DEFAULTS = {
  timeseries: { pointSize: 5, lineInterpolation: 'linear', axisPlacement: 'auto', scaleDistribution: { type: 'linear' }, hideFrom: {} },
};

function named(template, labels) {
  return template.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? '');
}

// As Grafana's data source has it: what is no number is not there.
const number = (text) => (Number.isFinite(Number(text)) ? Number(text) : null);

function overTime(target, series, step, from, to) {
  const at = new Map(series.values.map(([time, value]) => [Math.round(time), number(value)]));
  const times = [];
  for (let time = from; time <= to; time += step) {
    times.push(time);
  }
  const values = times.map((time) => at.get(Math.round(time)) ?? null);
  const config = { displayNameFromDS: named(target.legendFormat, series.metric) };
  return toDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: times.map((time) => time * 1000) },
      { name: 'Value', type: FieldType.number, labels: series.metric, config, values },
    ],
  });
}

function now(target, series) {
  const config = { displayNameFromDS: named(target.legendFormat, series.metric) };
  const value = { name: 'Value', type: FieldType.number, labels: series.metric, config, values: [number(series.value[1])] };
  return toDataFrame({ refId: target.refId, fields: [{ name: 'Time', type: FieldType.time, values: [series.value[0] * 1000] }, value] });
}

function rows(target, result, single) {
  const labels = [...new Set(result.flatMap((series) => Object.keys(series.metric)))].sort();
  const texts = labels.map((name) => ({ name, type: FieldType.string, values: result.map((series) => series.metric[name] ?? '') }));
  const times = { name: 'Time', type: FieldType.time, values: result.map((series) => series.value[0] * 1000) };
  const name = single ? 'Value' : `Value #${target.refId}`;
  const value = { name, type: FieldType.number, values: result.map((series) => number(series.value[1])) };
  return toDataFrame({ refId: target.refId, fields: [times, ...texts, value] });
}

const TRANSFORMERS = { merge: standardTransformers.mergeTransformer, organize: standardTransformers.organizeFieldsTransformer };

function transformed(frames, transformations) {
  let current = frames;
  for (const { id, options } of transformations ?? []) {
    const transformer = TRANSFORMERS[id];
    const context = { interpolate: (text) => text };
    of(current)
      .pipe(transformer.operator(options ?? {}, context))
      .subscribe((next) => (current = next));
  }
  return current;
}

export function framesOf(panel, answers, theme) {
  const raw = panel.targets.flatMap((target) => {
    const { result = [], step, from, to } = answers[target.refId] ?? {};
    if (panel.type === 'table') {
      return result.length ? [rows(target, result, panel.targets.length === 1)] : [];
    }
    return result.map((series) => (series.values ? overTime(target, series, step, from, to) : now(target, series)));
  });
  const { defaults, overrides } = panel.fieldConfig;
  const custom = { ...DEFAULTS[panel.type], ...defaults.custom };
  const frames = applyFieldOverrides({
    data: transformed(raw, panel.transformations),
    fieldConfig: { defaults: { ...defaults, custom }, overrides },
    fieldConfigRegistry: registry,
    replaceVariables: (text) => text,
    theme,
    timeZone: 'utc',
  });
  // The headers of a table read the names that this leaves behind.
  frames.forEach((frame) => frame.fields.forEach((field) => getFieldDisplayName(field, frame, frames)));
  return frames;
}
