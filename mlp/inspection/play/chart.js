// A picture with two axes in a canvas: its places, the frame with numbers, points and the cross.

/**
 * `heightOf` gives the height of the area from its width, in pixels of the page; `units` the shift and the scale from
 * the network's numbers to those that are written at an axis.
 */
function chartOn(canvas, { left, heightOf, units }) {
  const TOP = 8;
  const BOTTOM = 28;
  const chart = {
    left,
    top: TOP,
    width: 340,
    height: heightOf(340),
    bounds: [
      [-1, 1],
      [-1, 1],
    ],
  };
  const extent = (axis) => chart.bounds[axis][1] - chart.bounds[axis][0];
  const within = (value, axis) => Math.min(chart.bounds[axis][1], Math.max(chart.bounds[axis][0], value));

  chart.extent = extent;
  chart.toCanvas = ([x, y]) => [
    left + ((x - chart.bounds[0][0]) / extent(0)) * chart.width,
    TOP + ((chart.bounds[1][1] - y) / extent(1)) * chart.height,
  ];
  chart.within = (place) => place.map(within);
  chart.toPlace = ([px, py]) =>
    chart.within([
      chart.bounds[0][0] + ((px - left) / chart.width) * extent(0),
      chart.bounds[1][1] - ((py - TOP) / chart.height) * extent(1),
    ]);
  chart.inUnits = (value, axis) => value * units(axis)[1] + units(axis)[0];

  /** An empty picture of the size that the page gives it, clipped to the area; null without a size. */
  chart.begin = () => {
    const density = Math.min(3, globalThis.devicePixelRatio || 1);
    const width = canvas.clientWidth;
    if (!width) return null;
    chart.width = width - left - TOP;
    chart.height = heightOf(chart.width);
    canvas.style.height = `${TOP + chart.height + BOTTOM}px`;
    Object.assign(canvas, { width: width * density, height: (TOP + chart.height + BOTTOM) * density });
    const context = canvas.getContext("2d");
    context.scale(density, density);
    context.save();
    context.beginPath();
    context.rect(left, TOP, chart.width, chart.height);
    context.clip();
    return context;
  };

  /** The frame with numbers, when everything in the area is drawn. */
  chart.end = (context) => {
    context.restore();
    context.strokeStyle = ownColour("--muted");
    context.fillStyle = ownColour("--text");
    context.lineWidth = 1;
    context.strokeRect(left, TOP, chart.width, chart.height);
    context.font = "13px system-ui, sans-serif";
    for (const axis of [0, 1]) {
      const [shift, scale] = units(axis);
      const [low, high] = chart.bounds[axis].map((value) => chart.inUnits(value, axis));
      for (const tick of ticks(low, high)) {
        const value = (tick - shift) / scale;
        const place = chart.toCanvas(axis ? [chart.bounds[0][0], value] : [value, chart.bounds[1][0]]);
        context.textAlign = axis ? "right" : "center";
        context.textBaseline = axis ? "middle" : "top";
        const [dx, dy] = axis ? [-7, 0] : [0, 7];
        context.fillText(short(tick), place[0] + dx, Math.max(TOP + 6, place[1] + dy));
        context.beginPath();
        context.moveTo(...place);
        context.lineTo(place[0] + Math.sign(dx) * 4, place[1] + Math.sign(dy) * 4);
        context.stroke();
      }
    }
  };

  /** A point of the data; the edge sets it apart from what is below it. */
  chart.drawPoint = (context, place, { shape, fill, edge, edgeWidth, isSelected }) => {
    const [x, y] = chart.toCanvas(place);
    shapePath(context, shape, x, y, 4.5);
    context.fillStyle = fill;
    context.fill();
    context.lineWidth = edgeWidth;
    context.strokeStyle = edge;
    context.stroke();
    if (!isSelected) return;
    context.beginPath();
    context.arc(x, y, 10, 0, 2 * Math.PI);
    context.lineWidth = 2.5;
    context.strokeStyle = ownColour("--text");
    context.stroke();
  };

  /** The cross at the example of the other sections. */
  chart.drawCross = (context, place) => {
    const [x, y] = chart.toCanvas(place);
    for (const [width, colour] of [
      [4, ownColour("--background")],
      [1.5, ownColour("--text")],
    ]) {
      context.beginPath();
      for (const [dx, dy] of [
        [1, 0],
        [-1, 0],
        [0, 1],
        [0, -1],
      ]) {
        context.moveTo(x + 4 * dx, y + 4 * dy);
        context.lineTo(x + 13 * dx, y + 13 * dy);
      }
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.stroke();
    }
  };

  return chart;
}

/** The lowest and the highest of some values; a range around zero if there are none. */
function rangeOf(values, none) {
  return values.length ? [Math.min(...values), Math.max(...values)] : none;
}
