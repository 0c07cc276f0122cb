import { readFileSync } from 'node:fs';

export type Fault = 'http-500' | 'crash' | 'never-healthy' | 'slow' | 'corruption';
export type Feature = 'priority' | 'customer-email' | 'no-customer';

export interface Release {
  version: string;
  /** What the release can do, besides what every release does. */
  features: Feature[];
  /** What is wrong with it on purpose. */
  faults: Fault[];
}

/** The image of a release is the common image and this file. */
export const release: Release = JSON.parse(readFileSync(new URL('../release.json', import.meta.url), 'utf8'));

export const has = (feature: Feature): boolean => release.features.includes(feature);
export const broken = (fault: Fault): boolean => release.faults.includes(fault);
