// SPDX-License-Identifier: Apache-2.0
// Keeps the page as the node is: asks for it again and takes over its <main>.
(() => {
  'use strict';
  const every = 3000;
  const lost = document.getElementById('lost');
  let since = null;
  let timer = 0;
  let asking = false;

  async function refresh() {
    clearTimeout(timer);
    if (document.hidden || asking) return;
    asking = true;
    try {
      const answer = await fetch('/', {cache: 'no-store', signal: AbortSignal.timeout(8000)});
      if (!answer.ok) throw new Error(answer.status);
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      const main = page.querySelector('main');
      if (!main) throw new Error('no page');
      document.querySelector('main').replaceWith(document.adoptNode(main));
      document.title = page.title;
      since = null;
      if (lost.textContent) lost.textContent = '';
    } catch {
      since ??= new Date();
      const text = `Connection lost since ${since.toLocaleTimeString()}; this is what was known then`;
      // Said once, not every few seconds.
      if (lost.textContent !== text) lost.textContent = text;
    }
    asking = false;
    timer = setTimeout(refresh, every);
  }

  document.addEventListener('visibilitychange', refresh);
  timer = setTimeout(refresh, every);
})();
