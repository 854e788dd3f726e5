// Draws one dashboard from its JSON and from answers of Prometheus, with Grafana's own components.
//
// index.html?data=URL&theme=dark|light&width=PIXELS. The data are {dashboard, answers, from, to}, see scripts/pictures.
// When all is drawn, the title of the page says how many panels had data.
import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import '@fontsource/roboto-mono/400.css';
import React from 'react';
import { createRoot } from 'react-dom/client';
import { createTheme, dateTime, ThemeContext } from '@grafana/data';
import { GlobalStyles, PanelChrome, PortalContainer } from '@grafana/ui';
import { framesOf } from './frames.js';
import { Visualization } from './panels.jsx';

// Grafana's grid.
const CELL = 30;
const MARGIN = 8;
const COLUMNS = 24;

const query = new URLSearchParams(location.search);
const theme = createTheme({ colors: { mode: query.get('theme') ?? 'dark' } });
const width = Number(query.get('width') ?? 1680);

function Panel({ panel, answers, range }) {
  const w = ((width - 2 * MARGIN) / COLUMNS) * panel.gridPos.w - MARGIN;
  const h = panel.gridPos.h * (CELL + MARGIN) - MARGIN;
  const title = panel.title.replace('$target', range.target ?? 'target');
  const frames = framesOf(panel, answers[panel.id] ?? {}, theme);
  return (
    <PanelChrome title={title} description={panel.description} width={w} height={h}>
      {(innerWidth, innerHeight) => (
        <Visualization panel={panel} frames={frames} width={innerWidth} height={innerHeight} theme={theme} range={range} />
      )}
    </PanelChrome>
  );
}

// The rows that have no place of their own are the collapsed ones.
function Row({ row, range }) {
  const style = { fontWeight: 500, fontSize: 16, lineHeight: `${CELL}px`, color: theme.colors.text.primary };
  const title = row.title.replace('$target', range.target ?? 'target');
  return <div style={style}>{(row.collapsed ? '› ' : '⌄ ') + title + (row.collapsed ? `  (${row.panels.length} panels)` : '')}</div>;
}

function Dashboard({ dashboard, answers, range, chosen }) {
  const column = (width - 2 * MARGIN) / COLUMNS;
  const place = ({ gridPos: { x, y, w, h } }) => ({
    position: 'absolute',
    left: MARGIN + x * column,
    top: y * (CELL + MARGIN),
    width: w * column - MARGIN,
    height: h * (CELL + MARGIN) - MARGIN,
  });
  const bottom = Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  const chip = { padding: '4px 10px', border: `1px solid ${theme.colors.border.medium}`, borderRadius: 4, marginRight: 8 };
  return (
    <div style={{ background: theme.colors.background.canvas, color: theme.colors.text.primary, width }}>
      <div style={{ padding: `${MARGIN}px ${MARGIN}px 6px`, height: 74, boxSizing: 'border-box' }}>
        <div style={{ fontSize: 18, fontWeight: 500 }}>{dashboard.title}</div>
        <div style={{ marginTop: 8, fontSize: 12 }}>
          {Object.entries(chosen).map(([name, value]) => (
            <span key={name} style={chip}>
              <b style={{ fontWeight: 500 }}>{name}</b> {value}
            </span>
          ))}
        </div>
      </div>
      <div style={{ position: 'relative', height: bottom * (CELL + MARGIN) + MARGIN }}>
        {dashboard.panels.map((panel) => (
          <div key={panel.id} style={place(panel)}>
            {panel.type === 'row' ? <Row row={panel} range={range} /> : <Panel {...{ panel, answers, range }} />}
          </div>
        ))}
      </div>
    </div>
  );
}

const { dashboard, answers, from, to, chosen, target } = await (await fetch(query.get('data'))).json();
const [start, end] = [dateTime(from * 1000), dateTime(to * 1000)];
const range = { from: start, to: end, raw: { from: start, to: end }, target };
createRoot(document.getElementById('root')).render(
  <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <PortalContainer />
    <Dashboard {...{ dashboard, answers, range, chosen }} />
  </ThemeContext.Provider>
);
const shown = dashboard.panels.filter((panel) => panel.type !== 'row');
const full = shown.filter((panel) => framesOf(panel, answers[panel.id] ?? {}, theme).length > 0);
setTimeout(() => (document.title = `${full.length} of ${shown.length} panels have data`), 3000);
