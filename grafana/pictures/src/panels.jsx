// The visualizations that @grafana/ui exports, with the options of the panels' plugins. Heatmaps are drawn by a plugin of Grafana's core.
import React from 'react';
import { getDisplayValueAlignmentFactors, getFieldDisplayValues, VizOrientation } from '@grafana/data';
import { BarGauge, BigValue, TimeSeries, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';

function Empty({ panel, theme, text }) {
  const style = { display: 'flex', height: '100%', alignItems: 'center', justifyContent: 'center', textAlign: 'center', padding: 16 };
  return <div style={{ ...style, color: theme.colors.text.secondary }}>{text ?? panel.fieldConfig.defaults.noValue ?? 'No data'}</div>;
}

function Lines({ panel, frames, width, height, range }) {
  return (
    <TimeSeries
      frames={frames}
      structureRev={1}
      timeRange={range}
      timeZone="utc"
      width={width}
      height={height}
      legend={panel.options.legend}
      options={panel.options}
    />
  );
}

function Repeated({ panel, frames, width, height, theme, render, orientation }) {
  const { defaults, overrides } = panel.fieldConfig;
  const getValues = () =>
    getFieldDisplayValues({
      fieldConfig: { defaults, overrides },
      reduceOptions: panel.options.reduceOptions,
      replaceVariables: (text) => text,
      theme,
      data: frames,
      timeZone: 'utc',
    });
  return (
    <VizRepeater
      getValues={getValues}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={render}
      renderCounter={0}
      source={frames}
      width={width}
      height={height}
      orientation={orientation}
      itemSpacing={panel.type === 'bargauge' ? 8 : 3}
      minVizHeight={panel.options.minVizHeight}
      maxVizHeight={panel.options.maxVizHeight}
    />
  );
}

function Stat(props) {
  const { options } = props.panel;
  const render = ({ value, alignmentFactors, width, height, count }) => (
    <BigValue
      value={value.display}
      count={count}
      alignmentFactors={alignmentFactors}
      colorMode={options.colorMode}
      graphMode={options.graphMode}
      justifyMode={options.justifyMode}
      textMode={options.textMode}
      text={options.text}
      disableWideLayout={!options.wideLayout}
      theme={props.theme}
      width={width}
      height={height}
    />
  );
  return <Repeated {...props} render={render} orientation={VizOrientation.Auto} />;
}

function Bars(props) {
  const { options } = props.panel;
  const render = ({ value, alignmentFactors, orientation, width, height }) => (
    <BarGauge
      value={value.display}
      field={value.field}
      display={value.view?.getFieldDisplayProcessor(value.colIndex) ?? value.display}
      alignmentFactors={alignmentFactors}
      orientation={orientation}
      displayMode={options.displayMode}
      valueDisplayMode={options.valueMode}
      namePlacement={options.namePlacement}
      showUnfilled={options.showUnfilled}
      text={options.text}
      isOverflow={false}
      itemSpacing={8}
      theme={props.theme}
      width={width}
      height={height}
    />
  );
  return <Repeated {...props} render={render} orientation={VizOrientation.Horizontal} />;
}

function Rows({ panel, frames, width, height, range }) {
  const data = frames[0];
  return (
    <TableNG
      data={data}
      width={width}
      height={height}
      noHeader={!panel.options.showHeader}
      initialSortBy={panel.options.sortBy}
      cellHeight={panel.options.cellHeight}
      columnMinWidth={panel.fieldConfig.defaults.custom.minWidth}
      fieldConfig={panel.fieldConfig}
      timeRange={range}
      enableVirtualization={false}
      structureRev={1}
    />
  );
}

const DRAWN = { timeseries: Lines, stat: Stat, bargauge: Bars, table: Rows };

export function Visualization(props) {
  const Drawn = DRAWN[props.panel.type];
  if (!Drawn) {
    return <Empty {...props} text={`${props.panel.type}: drawn by Grafana only`} />;
  }
  // A stat without data shows its own text.
  if (props.frames.length === 0 && props.panel.type !== 'stat') {
    return <Empty {...props} />;
  }
  return <Drawn {...props} />;
}
