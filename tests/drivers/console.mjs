// The console in a real browser: signs in, looks at a preview, approves by the keyboard alone, refuses, lets a
// transaction commit, grants access for a time, and looks at a replay. axe-core looks at each page; pictures are left in the given directory.
import { createRequire } from 'node:module';
import { readFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';

const [console_, chromiumPath, profile, pictures, approved, refused, closing, access] = process.argv.slice(2);
const require = createRequire(join(process.cwd(), 'node_modules/'));
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
mkdirSync(pictures, { recursive: true });

const fail = (why) => { throw new Error(why); };

async function open(name, look) {
  return chromium.launchPersistentContext(join(profile, name), {
    executablePath: chromiumPath,
    headless: true,
    viewport: look.viewport ?? { width: 1200, height: 900 },
    colorScheme: look.scheme ?? 'light',
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--no-proxy-server',
      '--disable-background-networking', '--disable-component-update', '--disable-sync',
    ],
  });
}

// Everything that axe finds serious is a failure, with where and what.
async function judged(page, where) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  const grave = found.violations.filter((one) => ['serious', 'critical'].includes(one.impact));
  for (const one of grave) {
    console.log(`${where}: ${one.id} (${one.impact}): ${one.help}`);
    for (const node of one.nodes.slice(0, 5)) console.log(`  ${node.html}\n  ${node.failureSummary}`);
  }
  if (found.passes?.length === 0) fail(`${where}: axe looked at nothing`);
  if (grave.length > 0) fail(`${where}: ${grave.length} serious findings`);
  console.log(`axe: ${where}: nothing serious`);
}

async function picture(page, name) {
  await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
}

// Nothing may reach beyond console and issuer, and nothing may be refused by the page's own policy.
function watch(context) {
  const odd = [];
  context.on('request', (request) => {
    if (!request.url().startsWith('http://127.0.0.1:')) odd.push(request.url());
  });
  context.on('console', (message) => {
    // Who is not signed in yet gets a 401, which browsers tell as an error.
    if (message.type() === 'error' && !message.text().includes('401')) odd.push(message.text());
  });
  return odd;
}

async function signIn(page) {
  await page.goto(`${console_}/console`);
  await page.getByRole('link', { name: 'Sign in' }).click();
  await page.waitForURL(`${console_}/console`);
  await page.getByRole('heading', { level: 1, name: 'Pending requests' }).waitFor();
}

async function fits(page, where) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (wide > 0) fail(`${where}: the page is ${wide} px wider than the window`);
}

async function byKeyboard(page, reach, limit = 60) {
  for (let step = 0; step < limit; step += 1) {
    await page.keyboard.press('Tab');
    const there = await reach.evaluate((element) => element === document.activeElement);
    if (there) {
      const outline = await reach.evaluate((element) => getComputedStyle(element).outlineStyle);
      if (outline === 'none') fail('the focus cannot be seen');
      return;
    }
  }
  fail(`${reach} is not reached by the keyboard`);
}

for (const [name, look] of [
  ['dark', { scheme: 'dark' }],
  ['phone', { viewport: { width: 390, height: 844 } }],
  ['light', {}],
]) {
  const context = await open(name, look);
  const odd = watch(context);
  const page = context.pages()[0] ?? await context.newPage();
  await page.goto(`${console_}/console`);
  await judged(page, `${name} sign-in`);
  await picture(page, `${name}-sign-in`);
  await signIn(page);
  await judged(page, `${name} pending`);
  await picture(page, `${name}-pending`);
  await page.goto(`${console_}/console/requests/${approved}`);
  await judged(page, `${name} request`);
  await picture(page, `${name}-request`);
  await fits(page, name);
  for (const [what, id] of [['commit', closing], ['access', access]]) {
    await page.goto(`${console_}/console/requests/${id}`);
    await page.getByRole('button', { name: 'Approve' }).waitFor();
    await judged(page, `${name} ${what}`);
    await fits(page, `${name} ${what}`);
    await picture(page, `${name}-${what}`);
  }
  await page.goto(`${console_}/console/requests/${approved}`);
  if (name === 'phone') {
    await page.getByRole('button', { name: 'Preview' }).click();
    await page.getByText('1 updated').first().waitFor();
    await judged(page, `${name} preview`);
    await fits(page, `${name} preview`);
    await picture(page, `${name}-preview`);
  }
  if (name === 'light') {
    await page.getByRole('button', { name: 'Preview' }).click();
    await page.getByText('1 updated').first().waitFor();
    await judged(page, 'preview');
    await picture(page, 'preview');
    await page.goto(`${console_}/console/requests/${approved}`);
    await byKeyboard(page, page.getByLabel('Note').first());
    await page.keyboard.type('agreed in the meeting');
    await byKeyboard(page, page.getByRole('button', { name: 'Approve' }));
    await page.keyboard.press('Enter');
    await page.getByText('agreed in the meeting').waitFor();
    await judged(page, 'approved');
    await picture(page, 'approved');

    await page.goto(`${console_}/console`);
    await page.locator(`a[href$="${refused}"]`).click();
    await page.locator('#note-refuse').fill('not today');
    await page.getByRole('button', { name: 'Refuse' }).click();
    await page.getByText('refused by').first().waitFor();
    await picture(page, 'refused');

    for (const [what, id] of [['committed', closing], ['granted', access]]) {
      await page.goto(`${console_}/console/requests/${id}`);
      await page.getByRole('button', { name: 'Approve' }).click();
      await page.getByText(/approved by|granted by/).first().waitFor();
      await judged(page, what);
      await picture(page, what);
    }
    await page.goto(`${console_}/console`);
    await judged(page, 'in force');
    await picture(page, 'in-force');
    await page.getByRole('link', { name: 'History' }).click();
    await page.getByRole('heading', { level: 1, name: 'History' }).waitFor();
    await judged(page, 'history');
    await picture(page, 'history');
    await page.getByRole('link', { name: 'Live sessions' }).click();
    await page.getByRole('heading', { level: 1, name: 'Live sessions' }).waitFor();
    await judged(page, 'live sessions');
    await picture(page, 'live');
    await page.getByRole('link', { name: 'Recordings' }).click();
    await page.getByRole('heading', { level: 1, name: 'Recorded sessions' }).waitFor();
    await judged(page, 'recordings');
    await picture(page, 'recordings');
    await page.locator('tbody a').last().click();
    await page.getByRole('heading', { level: 1, name: /^s-/ }).waitFor();
    await judged(page, 'replay');
    await picture(page, 'replay');
    await page.goto(`${console_}/console`);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('heading', { level: 1, name: 'Signed out' }).waitFor();
  }
  if (odd.length > 0) fail(`${name}: ${odd.join('; ')}`);
  await context.close();
}
console.log('done');
