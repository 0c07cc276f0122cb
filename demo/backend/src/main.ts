import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';
import { broken, release } from './release.js';

if (broken('crash')) {
  throw new Error('scheduler is not configured: SCHEDULER_ZONE is undefined');
}

const app = await NestFactory.create(AppModule, { logger: ['error', 'warn', 'log'] });
app.enableShutdownHooks();
await app.listen(3000, '0.0.0.0');
console.log(`schedgen backend ${release.version} is listening`);
