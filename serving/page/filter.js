"use strict";
/* What of an article is shown: some types are hidden, some names are not sure enough. */

/** How the reader looks at an article; it outlives a redraw. */
function freshLook() {
  return { hidden: new Set(), least: 0, tags: false, sort: "salience", down: true, all: false };
}

/** The filter of a look: asks of entities, and calls of those who want to know when it changes. */
function filterOf(look) {
  const listeners = [];
  const change = () => listeners.forEach((listener) => listener());
  const sure = (entity) => entity.confidence >= look.least;
  return {
    sure,
    passes: (entity) => sure(entity) && !look.hidden.has(entity.label),
    onChange: (listener) => listeners.push(listener),
    setLeast(least) {
      look.least = least;
      change();
    },
    setShown(names, shown) {
      for (const name of names) {
        if (shown) look.hidden.delete(name);
        else look.hidden.add(name);
      }
      change();
    },
  };
}

/** What is shown of a prediction: the entities that pass, each group with its mentions that do.

    Where the mention that names a group is hidden, the first one shown hands its id to the others. Salience stays
    a share of the whole article. */
function shownOf(prediction, filter) {
  const entities = prediction.entities.filter(filter.passes);
  const shown = new Set(entities.map((entity) => entity.id));
  const heirs = new Map();
  for (const { id, mention_of: owner } of entities) if (!shown.has(owner) && !heirs.has(owner)) heirs.set(owner, id);
  const heir = (id) => heirs.get(id) ?? id;
  const groups = (prediction.groups ?? [])
    .map((group) => ({ ...group, id: heir(group.id), mentions: group.mentions.filter((id) => shown.has(id)) }))
    .filter((group) => group.mentions.length);
  const handed = entities.map((entity) => ({ ...entity, mention_of: heir(entity.mention_of) }));
  return { ...prediction, entities: handed, groups };
}
