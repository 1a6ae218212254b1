// Pixels of an image within shapes; points are [x, y] in pixels.

/** Call back with each pixel within `radius` of the line from a to b. */
export function alongLine([ax, ay], [bx, by], radius, width, height, visit) {
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy || 1;
  const far = Math.max(radius, 0.5) ** 2;
  const [left, right] = span(ax, bx, radius, width);
  const [top, bottom] = span(ay, by, radius, height);
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      const [px, py] = [x + 0.5 - ax, y + 0.5 - ay];
      const t = Math.min(1, Math.max(0, (px * dx + py * dy) / length));
      if ((px - t * dx) ** 2 + (py - t * dy) ** 2 <= far) visit(y * width + x);
    }
  }
}

function span(a, b, radius, size) {
  return [Math.max(0, Math.floor(Math.min(a, b) - radius - 0.5)), Math.min(size - 1, Math.floor(Math.max(a, b) + radius + 0.5))];
}

/** Call back with each pixel whose centre is within a polygon. */
export function insidePolygon(points, width, height, visit) {
  const ys = points.map(([, y]) => y);
  const top = Math.max(0, Math.floor(Math.min(...ys)));
  const bottom = Math.min(height - 1, Math.ceil(Math.max(...ys)));
  for (let y = top; y <= bottom; y++) {
    const crossings = [];
    points.forEach(([x1, y1], i) => {
      const [x2, y2] = points[(i + 1) % points.length];
      if ((y1 <= y + 0.5) !== (y2 <= y + 0.5)) crossings.push(x1 + ((y + 0.5 - y1) / (y2 - y1)) * (x2 - x1));
    });
    crossings.sort((a, b) => a - b);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const last = Math.min(width - 1, Math.ceil(crossings[i + 1] - 0.5) - 1);
      for (let x = Math.max(0, Math.ceil(crossings[i] - 0.5)); x <= last; x++) visit(y * width + x);
    }
  }
}
