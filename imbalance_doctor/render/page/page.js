// Draws the panels of the report from the data embedded in the page.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SEVERITY = { error: "#b3261e", warning: "#8a5200", info: "#0b5cad" };
  const TREATED = "#007a5a", POSITIVE = "#d55e00", NEGATIVE = "#0072b2", QUIET = "#666666";
  const FONT = { family: 'system-ui, "Segoe UI", Roboto, Arial, sans-serif', size: 12, color: "#1c2024" };
  const CONFIG = { responsive: true, displaylogo: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  const chosen = { loss: 0, place: 0 };  // places in data.losses and in the loss's classes

  const element = (tag, parent, text) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;  // never as HTML: class names are the user's
    if (parent) parent.append(made);
    return made;
  };
  // Plotly reads a few HTML tags in labels and treats % and { } in templates.
  const safe = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const whole = (x) => x.toLocaleString("en-US");
  const axisBase = { automargin: true, gridcolor: "#e4e7ea", linecolor: "#8a929a", showline: true, zeroline: false,
    ticks: "outside", tickcolor: "#8a929a" };

  // --- which loss and class ---------------------------------------------------------------------------

  const loss = () => data.losses[chosen.loss];
  const classIndex = () => loss().classes[chosen.place].index;
  const concerns = (finding) => finding.class === null || finding.class === classIndex();

  function selector(name, options, value, change) {
    const label = element("label", document.getElementById("choice"), name);
    const select = element("select", label);
    options.forEach((text, i) => { element("option", select, text).value = i; });
    select.value = value;
    select.id = `choose-${name.toLowerCase()}`;
    select.addEventListener("change", () => change(Number(select.value)));
  }

  function choose(lossPlace, place) {
    chosen.loss = lossPlace;
    chosen.place = place;
    document.getElementById("choice").replaceChildren();
    if (data.losses.length > 1) {
      selector("Loss", data.losses.map((l) => l.name === l.kind ? l.name : `${l.name} (${l.kind})`), lossPlace,
        (i) => choose(i, 0));
    }
    if (loss().classes.length > 1) {
      const found = (c) => c.findings ? ` – ${c.findings} open, worst: ${c.worst}` : "";
      selector("Class", loss().classes.map((c) => c.label + found(c)), place, (i) => choose(chosen.loss, i));
    }
    document.getElementById("left-out").textContent = loss().left_out;
    draw();
  }

  // --- what happened when -----------------------------------------------------------------------------

  function events() {
    const found = loss().findings.filter(concerns).map((f) =>
      ({ step: f.step, text: f.code, colour: SEVERITY[f.severity], dash: "solid" }));
    const treated = loss().treatments.map((t) => ({ step: t.step, text: "treated", colour: TREATED, dash: "dash" }));
    const phases = loss().phases.map((p) => ({ step: p.step, text: p.text, colour: QUIET, dash: "dot" }));
    return [...found, ...treated, ...phases].sort((a, b) => a.step - b.step);
  }

  // Labels that would lie on each other are counted at the first of them.
  function marks(width) {
    const span = data.span[1] - data.span[0], room = span * 58 / Math.max(200, width - 90);
    const shapes = [], labels = [], seen = new Set();
    for (const event of events()) {
      const key = `${event.step} ${event.colour}`;
      if (!seen.has(key)) {
        shapes.push({ type: "line", xref: "x", yref: "paper", x0: event.step, x1: event.step, y0: 0, y1: 1,
          line: { color: event.colour, width: 1.2, dash: event.dash }, opacity: 0.75 });
      }
      seen.add(key);
      const last = labels[labels.length - 1];
      // A treatment is named whatever else was found there, which takes more room.
      if (last && event.step - last.x < (last.also ? 1.6 * room : room)) {
        if (event.colour === TREATED && last.colour !== QUIET) last.also = `, ${event.text}`;
        else last.more += 1;
        // A finding matters more than the phase in which it fell.
        if (last.colour === QUIET) Object.assign(last, { text: event.text, colour: event.colour });
      }
      else labels.push({ x: event.step, text: event.text, colour: event.colour, more: 0, also: "" });
    }
    const annotations = labels.map((label) => ({ xref: "x", yref: "paper", x: label.x, y: 1, yanchor: "bottom",
      xanchor: (label.x - data.span[0]) / span > 0.92 ? "right" : label.x - data.span[0] < span * 0.04 ? "left" : "center",
      showarrow: false, text: safe(label.text) + (label.more ? ` +${label.more}` : "") + label.also,
      font: { size: 10.5, color: label.colour } }));
    return { shapes, annotations };
  }

  // --- panels over time -------------------------------------------------------------------------------

  const lineOf = (of, key) => {
    const entry = loss().lines[of][key];
    return entry ? (entry.one !== undefined ? entry.one : entry.each[chosen.place]) : null;
  };
  const faded = (colour, alpha) => {
    const n = parseInt(colour.slice(1), 16);
    return `rgba(${n >> 16}, ${(n >> 8) & 255}, ${n & 255}, ${alpha})`;
  };
  const positiveOnly = (values) => values.map((v) => v > 0 ? v : null);

  // One polygon for each stretch without gaps: plotly's own fill between two lines would bridge them.
  function area(x, low, high, colour, axis, group) {
    const xs = [], ys = [];
    let from = 0;
    for (let i = 0; i <= x.length; i += 1) {
      if (i < x.length && low[i] !== null && high[i] !== null) continue;
      if (i > from) {
        const stretch = x.slice(from, i);
        xs.push(...stretch, ...stretch.slice().reverse(), null);
        ys.push(...low.slice(from, i), ...high.slice(from, i).reverse(), null);
      }
      from = i + 1;
    }
    return { x: xs, y: ys, yaxis: axis, mode: "lines", line: { width: 0.6, color: faded(colour, 0.3) }, fill: "toself",
      fillcolor: faded(colour, 0.16), hoverinfo: "skip", showlegend: false, legendgroup: group };
  }

  function tracesOf(panel, line, row, axis) {
    const drawn = lineOf(panel.of, line.key);
    if (!drawn) return [];
    const fit = row.log ? positiveOnly : (values) => values;
    const x = data.x[drawn.x], y = fit(drawn.y), traces = [];
    if (!y.some((v) => v !== null)) return [];
    const band = line.band && line.band.map((key) => lineOf(panel.of, key));
    if (band && band[0] && band[1] && band[0].x === band[1].x) {
      traces.push(area(data.x[band[0].x], band[0].y, band[1].y, line.colour, axis, line.key));
    } else if (drawn.lo) {
      traces.push(area(x, fit(drawn.lo), fit(drawn.hi), line.colour, axis, line.key));
    }
    // A value between two gaps has no line to be seen by.
    const alone = y.some((v, i) => v !== null && (y[i - 1] ?? null) === null && (y[i + 1] ?? null) === null);
    traces.push({ x, y, yaxis: axis, name: safe(line.label), legendgroup: line.key,
      mode: alone || x.length <= 60 ? "lines+markers" : "lines", marker: { size: 3.5, color: line.colour },
      line: { color: line.colour, dash: line.dash, width: 1.8 }, hovertemplate: "%{y:.4~g}" });
    return traces;
  }

  // Room for the legend is reckoned beforehand: where plotly makes room itself, the legend slides into the axis.
  function legendBelow(layout, traces, inner, width, below = 52) {
    const shown = traces.filter((t) => t.showlegend !== false && t.name);
    layout.showlegend = shown.length > 1;
    const widest = Math.max(0, ...shown.map((t) => 46 + 6.6 * t.name.length));
    const columns = Math.max(1, Math.floor((width - 70) / widest));
    const total = shown.reduce((sum, t) => sum + 46 + 6.6 * t.name.length, 0);
    const rows = !layout.showlegend ? 0 : total < width - 70 ? 1 : Math.ceil(shown.length / columns);
    layout.legend.entrywidth = rows > 1 ? widest - 40 : undefined;
    layout.legend.y = -below / inner;
    layout.margin.b = below + 6 + 24 * rows;
    layout.height = layout.margin.t + inner + layout.margin.b;
  }

  // An axis around a value that never changes, which plotly would centre between made-up limits.
  function constantRange(traces) {
    const values = traces.flatMap((t) => t.y).filter((v) => v !== null);
    const value = values[0];
    return values.every((v) => v === value) && value !== 0 ? { range: value > 0 ? [0, 2 * value] : [2 * value, 0] } : {};
  }

  // Powers of ten, and 2 and 5 between them where there are few.
  function logTicks(traces) {
    const values = traces.flatMap((t) => t.y).filter((v) => v > 0);
    const decades = Math.log10(Math.max(...values) / Math.min(...values));
    return decades < 1.5 ? "D2" : Math.max(1, Math.ceil(decades / 5));
  }

  function timePanel(panel, width) {
    const traces = [], layout = base(width), rows = [], perRow = [];
    for (const row of panel.rows) {
      const axis = rows.length ? `y${rows.length + 1}` : "y";
      const drawn = row.lines.flatMap((line) => tracesOf(panel, line, row, axis));
      if (drawn.length) { rows.push(row); perRow.push(drawn); traces.push(...drawn); }
    }
    if (!traces.length) return null;
    const gap = 0.1, inner = rows.length > 2 ? 110 * rows.length : 270;
    const each = (1 - gap * (rows.length - 1)) / rows.length;
    rows.forEach((row, i) => {
      const top = 1 - i * (each + gap);
      layout[i ? `yaxis${i + 1}` : "yaxis"] = { ...axisBase, domain: [Math.max(0, top - each), top],
        title: { text: safe(row.y), font: { size: 11.5 } }, type: row.log ? "log" : "linear", nticks: 6,
        tickformat: ",.4~g", ...(row.log ? { dtick: logTicks(perRow[i]), minor: { showgrid: false } } : constantRange(perRow[i])),
        ...(row.range ? { range: row.range } : {}), ...(row.zero ? { rangemode: "tozero" } : {}) };
    });
    layout.xaxis = { ...axisBase, title: { text: "training step", font: { size: 11.5 } }, tickformat: ",d",
      range: padded(), anchor: rows.length > 1 ? `y${rows.length}` : "y", nticks: width < 420 ? 4 : 8 };
    legendBelow(layout, traces, inner, width);
    Object.assign(layout, marks(width));
    return { traces, layout };
  }

  const padded = () => {
    const span = data.span[1] - data.span[0];
    return [data.span[0] - span * 0.01, data.span[1] + span * 0.01];
  };

  function base(width) {
    return { autosize: true, font: FONT, paper_bgcolor: "#fff", plot_bgcolor: "#fff", hovermode: "x unified",
      margin: { l: 56, r: 12, t: 26, b: 48 }, dragmode: width < 480 ? false : "zoom",
      legend: { orientation: "h", x: 0, xanchor: "left", y: -0.2, yanchor: "top", font: { size: 11.5 } },
      hoverlabel: { font: { size: 11.5 } } };
  }

  // --- findings over time -----------------------------------------------------------------------------

  function timeline(width) {
    const found = loss().findings.filter(concerns).sort((a, b) => a.step - b.step);
    if (!found.length && !loss().treatments.length) return null;
    const name = (f) => safe(width < 520 ? f.code : `${f.code} ${f.name}`);
    const names = [...new Set(found.map(name))];
    const row = new Map(names.map((n, i) => [n, i]));
    const drawnAs = new Set();
    const traces = found.map((f) => {
      const end = f.open ? data.span[1] : f.end, first = !drawnAs.has(f.severity);
      drawnAs.add(f.severity);
      return { x: [f.step, end], y: [row.get(name(f)), row.get(name(f))], mode: "lines+markers", name: f.severity,
        legendgroup: f.severity, showlegend: first,
        line: { color: SEVERITY[f.severity], width: f.open ? 9 : 4 },
        marker: { size: 9, color: SEVERITY[f.severity], symbol: ["line-ns-open", f.open ? "triangle-right" : "line-ns-open"] },
        text: `${safe(f.code)} ${safe(f.name)}`,
        hovertemplate: `%{text}<br>from step ${whole(f.step)} to ` +
          `${f.open ? "the end, open" : whole(f.end) + ", resolved"}<extra></extra>` };
    });
    const layout = base(width);
    layout.hovermode = "closest";
    layout.margin.t = 26;
    layout.yaxis = { ...axisBase, tickvals: names.map((n, i) => i), ticktext: names, range: [names.length - 0.4, -0.6],
      showgrid: false, ticks: "" };
    layout.xaxis = { ...axisBase, title: { text: "training step", font: { size: 11.5 } }, tickformat: ",d",
      range: padded(), nticks: width < 420 ? 4 : 8 };
    const inner = 24 * Math.max(1, names.length) + 16;
    legendBelow(layout, traces, inner, width);
    const marked = marks(width), others = new Set([TREATED, QUIET]);
    layout.shapes = marked.shapes.filter((s) => others.has(s.line.color));
    layout.annotations = marked.annotations.filter((a) => others.has(a.font.color));
    if (!traces.length) traces.push({ x: loss().treatments.map((t) => t.step), y: loss().treatments.map(() => 0),
      mode: "markers", marker: { color: TREATED, symbol: "diamond", size: 9 }, name: "treated", hoverinfo: "x+name" });
    return { traces, layout };
  }

  // --- histograms -------------------------------------------------------------------------------------

  function steps(counts, edges, name, colour, axis, first) {
    const total = counts.reduce((a, b) => a + b, 0);
    if (!total) return [];
    const density = counts.map((n, i) => n / total / Math.max(edges[i + 1] - edges[i], 1e-12));
    const label = counts.map((n, i) =>
      `${whole(n)} ${name} from ${edges[i].toPrecision(3)} to ${edges[i + 1].toPrecision(3)}`);
    return [{ x: [edges[0], ...edges], y: [0, ...density, 0], xaxis: `x${axis}`, yaxis: `y${axis}`, name,
      legendgroup: name, showlegend: first, mode: "lines", fill: "tozeroy", fillcolor: faded(colour, 0.28),
      line: { color: colour, width: 1.5, shape: "hv" }, text: ["", ...label, ""],
      hovertemplate: "%{text}<extra></extra>" }];
  }

  function valueAt(key, step) {
    const drawn = lineOf("loss", key);
    if (!drawn) return null;
    const x = data.x[drawn.x];
    let best = 0;
    for (let i = 1; i < x.length; i += 1) if (Math.abs(x[i] - step) < Math.abs(x[best] - step)) best = i;
    return drawn.y[best];
  }

  // Bins of equal width come as their two outer edges.
  const edgesOf = (edges, bins) => edges.length > 2 || bins < 2 ? edges :
    Array.from({ length: bins + 1 }, (_, i) => edges[0] + (edges[1] - edges[0]) * i / bins);

  function histogramPanel(width) {
    const shown = loss().histograms[chosen.place] || [];
    if (!shown.length) return null;
    const columns = Math.min(shown.length, width < 480 ? 1 : width < 900 ? 2 : 3);
    const rows = Math.ceil(shown.length / columns), traces = [], layout = base(width);
    layout.hovermode = "closest";
    layout.annotations = [];
    layout.shapes = [];
    layout.margin.t = 46; // the buttons above, then the titles
    const gapX = 0.07, tall = 165, gapPx = 72, inner = rows * tall + (rows - 1) * gapPx;
    const w = (1 - gapX * (columns - 1)) / columns, h = tall / inner, gapY = gapPx / inner;
    const named = new Set();
    shown.forEach((histogram, i) => {
      const axis = i ? i + 1 : "", left = (i % columns) * (w + gapX), top = 1 - Math.floor(i / columns) * (h + gapY);
      for (const [side, name, colour] of [["neg", "negatives", NEGATIVE], ["pos", "positives", POSITIVE]]) {
        const made = steps(histogram[side], edgesOf(histogram[`${side}_edges`], histogram[side].length), name, colour, axis, !named.has(name));
        if (made.length) named.add(name);
        traces.push(...made);
      }
      const count = (side, kind) => {
        const rows = histogram[side].reduce((a, b) => a + b, 0);
        return `${whole(rows)} ${kind}${rows === 1 ? "" : "s"}`;
      };
      layout.annotations.push({ xref: "paper", yref: "paper", x: left, y: top, xanchor: "left", yanchor: "bottom",
        showarrow: false, align: "left", font: { size: 11.5 },
        text: `<b>step ${whole(histogram.step)}</b>  ${count("pos", "positive")}, ${count("neg", "negative")}` });
      layout[`xaxis${axis}`] = { ...axisBase, domain: [left, left + w], anchor: `y${axis}`, nticks: 6,
        title: { text: "score (logits)", font: { size: 11 }, standoff: 4 } };
      layout[`yaxis${axis}`] = { ...axisBase, domain: [Math.max(0, top - h), top], anchor: `x${axis}`, nticks: 4,
        rangemode: "tozero", title: i % columns ? undefined : { text: "density", font: { size: 11 } } };
      for (const key of ["threshold", "t_beta", "t_alpha"]) {
        const at = valueAt(key, histogram.step), edges = histogram.neg_edges;
        if (at !== null && at >= edges[0] && at <= edges[edges.length - 1]) {
          layout.shapes.push({ type: "line", xref: `x${axis}`, yref: `y${axis} domain`, x0: at, x1: at, y0: 0, y1: 1,
            line: { color: "#000", width: 1.3, dash: "dash" } });
        }
      }
    });
    if (layout.shapes.length) {
      traces.push({ x: [null], y: [null], mode: "lines", name: "threshold, or the edges of the band", line: { color: "#000", width: 1.3, dash: "dash" } });
    }
    legendBelow(layout, traces, inner, width, 54);
    return { traces, layout };
  }

  // --- all classes at once ----------------------------------------------------------------------------

  function overview(width) {
    const shown = loss().overview;
    if (!shown) return null;
    const kinds = [["error", SEVERITY.error, "x"], ["warning", SEVERITY.warning, "diamond"],
      ["info", SEVERITY.info, "square"], [null, QUIET, "circle-open"]];
    const traces = [];
    for (const [worst, colour, symbol] of kinds) {
      const places = loss().classes.map((c, i) => i).filter((i) => loss().classes[i].worst === worst);
      if (!places.length) continue;
      traces.push({ x: places.map((i) => Math.max(shown.x[i] ?? 0, 0.5)), y: places.map((i) => shown.y[i]), mode: "markers",
        name: worst ? `open ${worst}` : "no open finding", customdata: places,
        marker: { color: colour, symbol, size: 9, line: { width: worst ? 0 : 1.4, color: colour } },
        text: places.map((i) => `${safe(loss().classes[i].label)}<br>${shown.x[i]} positives in the pool`),
        hovertemplate: "%{text}<br>%{y:.3~g}<extra></extra>" });
    }
    const me = chosen.place;
    traces.push({ x: [Math.max(shown.x[me] ?? 0, 0.5)], y: [shown.y[me]], mode: "markers", name: "chosen", hoverinfo: "skip",
      marker: { symbol: "circle-open", size: 18, color: "#000", line: { width: 1.6 } } });
    const layout = base(width);
    layout.hovermode = "closest";
    layout.dragmode = false;
    layout.xaxis = { ...axisBase, type: "log", title: { text: "positives in the pool, mean of the last records (log scale)",
      font: { size: 11.5 } }, dtick: 1, minor: { showgrid: false }, tickformat: ",.4~g" };
    layout.yaxis = { ...axisBase, title: { text: shown.y_label, font: { size: 11.5 } } };
    legendBelow(layout, traces, 280, width);
    return { traces, layout, clicked: (point) => {
      if (point.customdata !== undefined) choose(chosen.loss, point.customdata);
    } };
  }

  // --- the page ---------------------------------------------------------------------------------------

  function figures() {
    const list = [
      { id: "overview", title: "Classes at a glance", wide: true, make: overview,
        help: "Each mark is a class; click one to see its panels. Classes without positives are drawn at 0.5." },
      { id: "timeline", title: "Findings over the run", wide: true, make: timeline,
        help: "Each bar runs from the step that showed a finding to the step that resolved it; an arrow marks open findings." },
      { id: "histograms", title: "Scores of positives and negatives", wide: true, make: histogramPanel,
        help: "Each side has an area of 1, so that rare positives are visible beside many negatives. Where there are few positives, their bins are wider. The outer bins also count the scores beyond them." },
    ];
    for (const panel of data.panels) {
      const expected = !panel.expects.length || panel.expects.some((key) => lineOf(panel.of, key));
      list.push({ id: panel.id, title: panel.title, help: panel.help + (expected ? "" : ` ${panel.note}`),
        absent: loss().absent[panel.id] || "Nothing was recorded for this class.",
        missing: panel.id in loss().absent, make: (width) => timePanel(panel, width) });
    }
    return list;
  }

  const REASONS = { overview: "", timeline: "No finding and no treatment concerns this class.",
    histograms: "No score histograms were recorded for this class." };

  function draw() {
    const grid = document.getElementById("grid"), absent = document.getElementById("absent");
    for (const plot of grid.querySelectorAll(".plot")) Plotly.purge(plot);
    grid.replaceChildren();
    absent.replaceChildren();
    const missing = [];
    for (const figure of figures()) {
      const box = element("figure", grid);
      if (figure.wide) box.className = "wide";
      const made = figure.missing ? null : figure.make(box.clientWidth);
      if (!made) {
        box.remove();
        const reason = figure.absent ?? REASONS[figure.id];
        if (reason) missing.push([figure.title, reason]);
        continue;
      }
      const caption = element("figcaption", box);
      element("h2", caption, figure.title);
      element("p", caption, figure.help);
      const plot = element("div", box);
      plot.className = "plot";
      plot.id = `panel-${figure.id}`;
      Plotly.newPlot(plot, made.traces, made.layout, CONFIG);
      if (made.clicked) plot.on("plotly_click", (event) => made.clicked(event.points[0]));
    }
    if (missing.length) {
      element("h2", absent, "Not shown");
      const list = element("ul", absent);
      for (const [title, reason] of missing) element("li", list, `${title}: ${reason}`);
    }
  }

  function start() {
    if (!data.losses.length) {
      element("p", document.getElementById("absent"), "No loss was recorded in this run: there is nothing to draw.");
      return;
    }
    for (const button of document.querySelectorAll("button.show")) {
      button.addEventListener("click", () => {
        const place = Number(button.dataset.loss);
        const wanted = Number(button.dataset.class);
        const classPlace = data.losses[place].classes.findIndex((c) => c.index === wanted) ?? -1;
        choose(place, Math.max(0, classPlace));
        document.getElementById("panels").scrollIntoView();
      });
    }
    // Panels are laid out for a width; a phone that is turned needs them anew.
    let width = window.innerWidth;
    window.addEventListener("resize", () => {
      if (Math.abs(window.innerWidth - width) > 120) { width = window.innerWidth; draw(); }
    });
    // Paper is narrower than most windows.
    window.matchMedia("print").addEventListener("change", () => {
      for (const plot of document.querySelectorAll(".plot")) Plotly.Plots.resize(plot);
    });
    choose(0, 0);
  }
  start();
})();
