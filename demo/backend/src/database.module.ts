import { Global, Module, OnApplicationShutdown } from '@nestjs/common';
import { DataSource } from 'typeorm';
import dataSource from './data-source.js';
import { corruptData } from './faults.js';

async function connect(): Promise<DataSource> {
  await dataSource.initialize();
  for (const migration of await dataSource.runMigrations()) {
    console.log(`migration applied: ${migration.name}`);
  }
  await corruptData(dataSource);
  return dataSource;
}

@Global()
@Module({
  providers: [{ provide: DataSource, useFactory: connect }],
  exports: [DataSource],
})
export class DatabaseModule implements OnApplicationShutdown {
  /** Comes after the last request was answered. */
  async onApplicationShutdown(): Promise<void> {
    await dataSource.destroy();
  }
}
