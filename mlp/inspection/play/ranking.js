// The entries of an array that matter most.

/** The places of the entries with the largest absolute values, at most so many, from the largest on. */
function largestPlaces(values, count) {
  const places = [];
  for (let k = 0; k < values.length; k++) {
    const size = Math.abs(values[k]);
    if (places.length === count && !(size > Math.abs(values[places[count - 1]]))) continue;
    let place = places.length;
    while (place > 0 && size > Math.abs(values[places[place - 1]])) place -= 1;
    places.splice(place, 0, k);
    if (places.length > count) places.pop();
  }
  return places;
}
